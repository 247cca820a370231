printf %s "$TOKEN" >token.txt
