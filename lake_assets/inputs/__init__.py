"""What a partition is built from: archives, answers of REST, and the choice between them."""
