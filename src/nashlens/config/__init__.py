"""The configuration: its models, its checks, its schema.

`validate` turns the merged YAML into a `Config` or into one line for each problem;
`nashlens.config.preflight` then looks at the world outside; `nashlens.config.schema` writes the
JSON schema for editors.
"""

from nashlens.config.cross import used_models
from nashlens.config.layers import resolve_layers
from nashlens.config.sections import Config
from nashlens.config.validate import validate

__all__ = ["Config", "resolve_layers", "used_models", "validate"]
