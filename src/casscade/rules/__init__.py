"""What a configuration does to rows and values: conditions on rows, and changes to what columns hold. Pure."""
