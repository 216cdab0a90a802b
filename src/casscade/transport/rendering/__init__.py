"""Messages of topics as JSON for people who look into them; what rows hold is masked unless it is asked for."""
