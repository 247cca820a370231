package v1alpha1

import (
	"encoding/json"
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kjson "k8s.io/apimachinery/pkg/util/json"
)

// maxMalformed is the maximum length of a Malformed text, in bytes.
const maxMalformed = 256

// UnmarshalJSON decodes an APIToken. If the spec cannot be decoded, it sets Malformed and returns no error: one object that
// the schema should have refused must not make a list or a watch of all APITokens fail. Of such a spec it keeps only the
// fields that name other objects. A status that cannot be decoded stays empty.
func (t *APIToken) UnmarshalJSON(data []byte) error {
	meta, spec, status, err := split(data)
	if err != nil {
		return fmt.Errorf("decoding an APIToken: %w", err)
	}
	*t = APIToken{TypeMeta: meta.TypeMeta, ObjectMeta: meta.ObjectMeta}
	if t.Malformed = decodePart("spec", spec, &t.Spec); t.Malformed != "" {
		var names struct {
			SiteRef  SiteReference `json:"siteRef"`
			User     string        `json:"user"`
			Delivery Delivery      `json:"delivery"`
		}
		_ = decodePart("spec", spec, &names) // as far as possible
		t.Spec = APITokenSpec{SiteRef: names.SiteRef, User: names.User, Delivery: names.Delivery}
	}
	if decodePart("status", status, &t.Status) != "" {
		t.Status = APITokenStatus{}
	}
	return nil
}

// UnmarshalJSON decodes an AtlassianSite. If the spec cannot be decoded, it sets Malformed, leaves the spec empty, and returns
// no error, for the same reason as UnmarshalJSON of APIToken. A status that cannot be decoded stays empty.
func (s *AtlassianSite) UnmarshalJSON(data []byte) error {
	meta, spec, status, err := split(data)
	if err != nil {
		return fmt.Errorf("decoding an AtlassianSite: %w", err)
	}
	*s = AtlassianSite{TypeMeta: meta.TypeMeta, ObjectMeta: meta.ObjectMeta}
	if s.Malformed = decodePart("spec", spec, &s.Spec); s.Malformed != "" {
		s.Spec = AtlassianSiteSpec{}
	}
	if decodePart("status", status, &s.Status) != "" {
		s.Status = AtlassianSiteStatus{}
	}
	return nil
}

// split decodes the metadata of an object, and returns its spec and status as they are.
func split(data []byte) (meta metav1.PartialObjectMetadata, spec, status json.RawMessage, err error) {
	var object struct {
		metav1.PartialObjectMetadata `json:",inline"`

		Spec   json.RawMessage `json:"spec"`
		Status json.RawMessage `json:"status"`
	}
	err = kjson.Unmarshal(data, &object)
	return object.PartialObjectMetadata, object.Spec, object.Status, err
}

// decodePart returns why a part of an object cannot be decoded, or nothing. An absent part can.
func decodePart(name string, data json.RawMessage, into any) string {
	if len(data) == 0 {
		return ""
	}
	err := kjson.Unmarshal(data, into)
	if err == nil {
		return ""
	}
	text := fmt.Sprintf("decoding `%s`: %v", name, err)
	return strings.ToValidUTF8(text[:min(len(text), maxMalformed)], "")
}
