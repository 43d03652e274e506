"""How a training goes: recipes, settings, losses, optimizer, augmentation. Nothing here reads a file of images."""
