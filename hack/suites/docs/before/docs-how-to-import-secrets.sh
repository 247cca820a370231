head -c 30 /dev/urandom | base64 -w 0 >old-ci-secret
