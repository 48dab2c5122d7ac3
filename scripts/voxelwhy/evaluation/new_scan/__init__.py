"""A scan that is in no fold: checked, classified and explained by a finished study, and compared with its scans."""
