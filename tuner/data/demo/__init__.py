"""Generated images of surfaces, for trying the product without any data of one's own.

This is demo data. It is not MVTec AD and stands for no real part.
"""
