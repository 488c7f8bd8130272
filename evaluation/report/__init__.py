"""The report of a study's results: statistics, tables, figures and one page that holds them."""
