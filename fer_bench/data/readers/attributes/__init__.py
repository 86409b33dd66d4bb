"""What is known of each image besides its pixels: class, person, slice and votes."""
