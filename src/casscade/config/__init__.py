"""The configuration of a pipeline: one YAML file, its keys, limits and messages.

`load_config` gives a `PipelineConfig`; `resolve_tables` applies its `tables` to the tables that exist.
"""

from casscade.config.load import load_config
from casscade.config.model import PipelineConfig
from casscade.config.tables import TableRule, resolve_tables, select_columns

__all__ = ["PipelineConfig", "TableRule", "load_config", "resolve_tables", "select_columns"]
