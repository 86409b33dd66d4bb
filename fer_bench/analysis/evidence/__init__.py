"""What is put on record without being trained here, checked again, and packed for others."""
