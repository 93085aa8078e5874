"""The demo: a page on which anyone generates panoramas and sequences with the models at hand.

`studio` generates, and knows nothing of pages; `page` and `server` show it by Gradio, which is an
extra (`pip install 'mvdiffusion[demo]'`).
"""
