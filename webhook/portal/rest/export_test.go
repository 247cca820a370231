package rest

// MaxBody is the largest body of a request, in bytes.
const MaxBody = maxBody

// Document is the OpenAPI document.
var Document = document

// Routes returns the method and path of every operation.
func Routes() (all [][2]string) {
	for _, r := range routes {
		all = append(all, [2]string{r.method, r.path})
	}
	return all
}
