"""All code that knows Label Studio's formats and HTTP API. Read `client` first.

client     the calls that a round needs
http, repetition, answers   tokens, retries, complete answers
listings   tasks page by page
label_config   the labelling config; parts of it: config_xml, config_labels, controls,
               class_choices, import_rules
addresses  addresses of servers and images
regions/   regions to masks, and masks to regions
queue      an order as predictions
tabs, marks   saved views of tasks, and the texts in the review tab
left_out   regions and images that a round could not use
"""
