trap 'kubectl patch atlassiansite main --type merge -p "{\"spec\":{\"otherCredentials\":null}}"' EXIT
