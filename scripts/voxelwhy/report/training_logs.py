"""The history of each training as logs that TensorBoard reads (training.tensorboard)."""

from __future__ import annotations

from pathlib import Path

#: Columns of tables.HISTORY, and the names under which TensorBoard shows them.
SCALARS = {
    "train_loss": "loss/train",
    "validation_loss": "loss/validation",
    "train_accuracy": "accuracy/train",
    "validation_accuracy": "accuracy/validation",
}


def write_logs(folder, history, fold):
    """Write the history of a fold as one run of TensorBoard for each training.

    Parameters
    ----------
    folder : path, in which the runs are made: `fold-<k>`, or `fold-<k>-training-<m>` if there are several trainings
    history : DataFrame by tables.HISTORY; without validation scans, its validation columns are empty and not written
    fold : int
    """
    from tensorboardX import SummaryWriter

    several = history["member"].nunique() > 1
    for member, rows in history.groupby("member"):
        name = f"fold-{fold}-training-{member}" if several else f"fold-{fold}"
        with SummaryWriter(str(Path(folder, name))) as writer:
            for column, scalar in SCALARS.items():
                for epoch, value in rows[["epoch", column]].dropna().itertuples(index=False):
                    writer.add_scalar(scalar, float(value), global_step=int(epoch))
