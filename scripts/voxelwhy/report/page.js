"use strict";
// Everything can be read without this script: it adds sorting, copying, and pictures in full.
(() => {
  const order = (cell) => {
    const key = cell.dataset.key;
    return key === undefined ? null : Number(key);
  };

  function sortBy(table, column, header) {
    const down = header.getAttribute("aria-sort") === "ascending";
    table.querySelectorAll("th").forEach((other) => other.removeAttribute("aria-sort"));
    header.setAttribute("aria-sort", down ? "descending" : "ascending");
    const numeric = header.classList.contains("number");
    const sign = down ? -1 : 1;
    const rows = [...table.tBodies[0].rows];
    const place = new Map(rows.map((row, at) => [row, at]));
    rows.sort((first, second) => {
      const [a, b] = [first.cells[column], second.cells[column]];
      if (!numeric) {
        const words = a.textContent.localeCompare(b.textContent, "en", { numeric: true });
        return sign * words || place.get(first) - place.get(second);
      }
      const [x, y] = [order(a), order(b)];
      // Cells without a value stay at the end.
      if (x === null || y === null) return (x === null) - (y === null) || place.get(first) - place.get(second);
      return sign * (x - y) || place.get(first) - place.get(second);
    });
    table.tBodies[0].append(...rows);
  }

  const asText = (table) =>
    [...table.rows]
      .map((row) => [...row.cells].map((cell) => cell.textContent.trim().replace(/\s+/g, " ")).join("\t"))
      .join("\n") + "\n";

  function fallback(text) {
    // Without the clipboard of the browser, as in some browsers on file://.
    const area = document.createElement("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }

  async function copy(table, button) {
    let done = false;
    try {
      await navigator.clipboard.writeText(asText(table));
      done = true;
    } catch {
      done = fallback(asText(table));
    }
    button.textContent = done ? "Copied" : "Could not copy";
    setTimeout(() => (button.textContent = "Copy as TSV"), 2000);
  }

  function download(table) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([asText(table)], { type: "text/tab-separated-values" }));
    link.download = table.dataset.name.toLowerCase().replace(/[^a-z0-9]+/g, "_") + ".tsv";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }

  function button(words, act) {
    const made = document.createElement("button");
    made.type = "button";
    made.textContent = words;
    made.addEventListener("click", () => act(made));
    return made;
  }

  for (const table of document.querySelectorAll("table[data-name]")) {
    [...table.tHead.rows[0].cells].forEach((header, column) => {
      const name = header.textContent;
      header.textContent = "";
      header.append(button(name, () => sortBy(table, column, header)));
    });
    const tools = document.createElement("div");
    tools.className = "tools";
    const copying = button("Copy as TSV", (own) => copy(table, own));
    copying.setAttribute("aria-live", "polite");
    tools.append(copying, button("Download TSV", () => download(table)));
    table.parentElement.after(tools);
  }

  const full = document.getElementById("full");
  for (const thumb of document.querySelectorAll("a.thumb")) {
    thumb.addEventListener("click", (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      const [small, large] = [thumb.querySelector("img"), full.querySelector("img")];
      large.src = small.src;
      large.alt = small.alt;
      full.querySelector("p").textContent = thumb.nextElementSibling.textContent.trim();
      full.showModal();
    });
  }
  full.addEventListener("click", (event) => {
    if (event.target === full) full.close();
  });

  // What is folded is printed, too.
  let folded = [];
  addEventListener("beforeprint", () => {
    folded = [...document.querySelectorAll("details:not([open])")];
    folded.forEach((one) => (one.open = true));
  });
  addEventListener("afterprint", () => folded.forEach((one) => (one.open = false)));
})();
