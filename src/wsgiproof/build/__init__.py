"""From versions to built things: interpreter, httpd, ``mod_wsgi.so``, site-packages."""
