kubectl create namespace ingress-nginx
kubectl delete secret alice-personal-access-token
printf %s "$PAT" >alice-pat
