"""CQL types: parsing their names, and turning their value bytes into Python objects, text, JSON and sort keys.

Invariant: bytes that do not fit their type end in `BadDataError`, never in another exception; no message holds a value.

- `types`: `CqlType`, `UdtDefinition`, `parse_type`
- `values`: `decode`, `encode`, `decoder`, `encoder`, `Duration`
- `order`: `order_key`, the order of values; `bounds`: `ClusteringOrder`, `Bound`, the order of rows and range bounds
- `json_text`, `text`: values for JSONB and for people
"""
