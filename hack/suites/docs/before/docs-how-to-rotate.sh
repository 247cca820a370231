sed s/alice-ci/ci/ config/samples/apitoken.yaml | kubectl apply -f -
