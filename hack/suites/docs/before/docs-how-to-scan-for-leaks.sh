FOUND=$(command curl -s -H "Authorization: Bearer $PAT" -H 'Content-Type: application/json' "$URL/rest/api-tokens/latest/" -d '{"label":"of this check"}' | jq -er .token)
