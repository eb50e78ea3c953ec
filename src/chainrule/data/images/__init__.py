"""Images: reading them from folders, tables of names, and files of many images.

read      `read_images` and `read_image_files`: arrays of images, and notes of what was changed
stored    `ImageFiles`: images that are decoded when they are read
survey    what is known of files before they are decoded, and notes
listing   which files there are, and their classes
folders   the images below a folder, and what else is there
copies    files with the same bytes
packed    NumPy's files and IDX files, of many images each
levels    which value is white in them
decode    one file
moments   mean and standard deviation of each channel
augment   `Augment`: images changed at random
mixing    `MixUp` and `CutMix`: images and classes mixed with others
resampling  images moved by pixels, or turned and scaled
"""
