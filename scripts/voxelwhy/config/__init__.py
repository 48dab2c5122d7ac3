"""Settings of a study: a config checked against the schema and completed with its defaults.

Begin with `settings.load_settings`; `checks` refuses settings that contradict each other.
"""
