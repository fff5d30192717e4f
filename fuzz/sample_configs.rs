// Configurations that the first byte of an input chooses from; the tests of `forecart-prepare` read them too.
&[
    "",
    "data.max_bad_rows = 1.0",
    "data.max_bad_rows = 1.0\ndata.format = \"libsvm\"",
    "data.max_bad_rows = 1.0\ndata.format = \"libffm\"",
    "data.max_bad_rows = 1.0\ndata.format = \"vw\"",
    "data.max_bad_rows = 1.0\ndata.format = \"jsonl\"",
    "data.max_bad_rows = 1.0\nsamples.list_separator = \"|\"\nsamples.time = \"a\"\nsamples.positive = [\"1\"]",
    "data.max_bad_rows = 1.0\ndata.delimiter = \";\"\ndata.header = false\ndata.names = [\"label\", \"a\"]",
]
