package sites

import (
	"errors"
	"fmt"
	"path"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/plugin/exit"
	"apitokens.dev/operator/internal/plugin/output"
	"apitokens.dev/operator/internal/plugin/session"
)

// licence is what the status of a site says about its licence.
type licence struct {
	Site string `json:"site"`
	// State is Valid, Invalid or NotRequired.
	State   string `json:"state"`
	Reason  string `json:"reason,omitempty"`
	Message string `json:"message"`
	// Secret is where the site has its licence from.
	Secret string `json:"secret,omitempty"`
}

// The states of a licence.
const (
	valid       = "Valid"
	invalid     = "Invalid"
	notRequired = "NotRequired"
)

// NewLicense returns the command license.
func NewLicense(s *session.Session) *cobra.Command {
	var everywhere bool
	var format output.Format
	cmd := &cobra.Command{
		Use:     "license [SITE]",
		Aliases: []string{"licence"},
		Short:   "Show whether the licences of sites are valid",
		Long: "Show whether the licence of each site is valid, as the controller has found out, and what to do if not.\n\n" +
			"Without a valid licence, requests with tokens are 403. Sites of an operator that does not verify licences need none.\n" +
			"The licence itself is not read. The exit code is 5 if one of the licences is not valid.",
		Example: `  kubectl apitoken license -A
  kubectl apitoken license main -n jira
  kubectl apitoken license -A -o json`,
		Args:              exit.Args(cobra.MaximumNArgs(1)),
		ValidArgsFunction: CompleteNames(s),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := format.Check(); err != nil {
				return err
			}
			all, err := one(cmd, s, args, everywhere)
			if err != nil {
				return err
			}
			return printLicences(s, &format, licencesOf(all))
		},
	}
	cmd.Flags().BoolVarP(&everywhere, "all-namespaces", "A", false, "in all namespaces")
	format.AddTo(cmd, output.Wide, output.JSON, output.YAML, output.Name)
	return cmd
}

// one returns the site that the arguments name, or all sites.
func one(cmd *cobra.Command, s *session.Session, args []string, everywhere bool) ([]tokensv1alpha1.AtlassianSite, error) {
	if len(args) == 0 {
		return listOf(cmd.Context(), s, everywhere)
	}
	c, err := s.Client()
	if err != nil {
		return nil, err
	}
	site, err := Get(cmd.Context(), s, c, args[0])
	if err != nil {
		return nil, err
	}
	return []tokensv1alpha1.AtlassianSite{*site}, nil
}

func licencesOf(all []tokensv1alpha1.AtlassianSite) []licence {
	licences := make([]licence, len(all))
	for i := range all {
		licences[i] = licenceOf(&all[i])
	}
	return licences
}

func licenceOf(s *tokensv1alpha1.AtlassianSite) licence {
	l := licence{Site: s.Namespace + "/" + s.Name, Secret: s.Spec.LicenseSecretRef.Name}
	c := condition(s, tokensv1alpha1.ConditionLicensed)
	l.Reason, l.Message = c.Reason, c.Message
	switch c.Status {
	case metav1.ConditionTrue:
		l.State = valid
	case "":
		l.State, l.Message = notRequired, "The operator does not verify licences."
	default: // unknown fails closed
		l.State = invalid
	}
	return l
}

func printLicences(s *session.Session, format *output.Format, licences []licence) error {
	bad := 0
	rows, names := make([][]any, len(licences)), make([]string, len(licences))
	for i, l := range licences {
		rows[i] = []any{l.Site, l.State, l.Reason, l.Secret, l.Message}
		names[i] = "atlassiansite." + tokensv1alpha1.GroupVersion.Group + "/" + path.Base(l.Site)
		if l.State == invalid {
			bad++
		}
	}
	var err error
	if format.ForPeople() {
		columns := []output.Column{{Name: "Site"}, {Name: "Licence"}, {Name: "Reason"}, {Name: "Secret", Wide: true}, {Name: "Message"}}
		err = format.Table(s, columns, rows, "No sites found.")
	} else {
		err = format.Value(s.Out, licences, names...)
	}
	if bad > 0 {
		err = errors.Join(err, exit.With(exit.No, fmt.Errorf("%d of %d licences are not valid", bad, len(licences))))
	}
	return err
}
