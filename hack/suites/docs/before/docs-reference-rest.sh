# Each command gets a token of its own: some of them end it. alice administers the tokens of the site.
kubectl patch atlassiansite main --type merge -p '{"spec":{"administrators":["alice"]}}'
kubectl wait atlassiansite/main --for=condition=Ready --timeout=1m
make_token() {
    command curl -s -H "Authorization: Bearer $PAT" -H 'Content-Type: application/json' "$URL/rest/api-tokens/latest/" -d '{"label":"of this check"}'
}
prepare() {
    local made
    made=$(make_token)
    TOKEN=$(jq -er .token <<<"$made")
    ID=$(jq -er .id <<<"$made")
    FOUND=$(make_token | jq -er .token)
}
trap 'case $BASH_COMMAND in curl*) prepare ;; esac' DEBUG
