touch ca.crt
