"""SQL files of the loader: the migrations of the control schema."""
