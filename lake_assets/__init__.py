"""What the lake is: schema, transforms, assets, checks, commands."""
