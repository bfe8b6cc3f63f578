"""Turn versions into builds: interpreter, httpd, ``mod_wsgi.so`` and site-packages."""
