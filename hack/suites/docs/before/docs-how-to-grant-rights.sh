kubectl create namespace team-a
kubectl create role issue-ci-bot --verb=issue --resource=apitokens.apitokens.dev --resource-name=ci-bot
kubectl create rolebinding issue-ci-bot --role=issue-ci-bot --serviceaccount=team-a:deployer
