package apitoken

import tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"

// Observe notes an observed deletion, as a Cleaner does.
func Observe(d *Deletions, t *tokensv1alpha1.APIToken) { (&Cleaner{Deletions: d}).observed(t) }
