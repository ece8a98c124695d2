"""The side-by-side benchmark: this project and its peers do the same work on one machine, and one table tells."""
