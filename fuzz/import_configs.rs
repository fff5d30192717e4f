// Configurations that the first byte of an input chooses from; the tests of `forecart-prepare` read them too.
&[
    "",
    "data.time_zone = \"UTC\"",
    "data.order_only = true",
    "data.format = \"sequences\"",
    "data.format = \"recbole\"",
    "data.format = \"jsonl\"",
    "data.delimiter = \"whitespace\"\ndata.quote = \"'\"\ndata.order_only = true",
    "data.delimiter = \"::\"\ndata.header = false\ndata.names = [\"user_id\", \"price\"]\n\
     data.default_item = \"i\"\ndata.order_only = true",
    "data.time_zone = \"Europe/London\"\ndata.time_format = \"%d/%m/%Y %H:%M\"",
    "data.order_lines = true\ndata.time_zone = \"UTC\"",
]
