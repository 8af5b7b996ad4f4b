"""What tests share: lakes, exchanges, workers and frames. No assertion of a test lives here."""
