"""What the readers share: names, numbers, and files of JSON, XML and YAML that strangers wrote."""
