"""What is shown of a result: tables on a terminal, and one HTML file with tables and plots."""
