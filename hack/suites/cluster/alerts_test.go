package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"apitokens.dev/operator/hack/lib/controlplane"
)

// drilled are the alerts that TestLongAlerts provokes on a node, in this order.
var drilled = []string{
	"APITokenPasswordsUsed", "APITokenGatewayRefused", "APITokenManyRefusals", "APITokenNoVerdict", "APITokenDamagedObjects",
	"APITokenLastAccessNotWritten", "APITokenPoliciesMissing", "APITokenOpenDoor", "APITokenDoorUnknown", "APITokenPATRefused",
	"APITokenLicenceEnds", "APITokenLicenceInvalid", "APITokenCertificateEnds", "APITokenCertificateNotRenewed", "APITokenWebhookNotReady",
	"APITokenReplicaStale", "APITokenClockWrong", "APITokenControllerAway", "APITokenAuditLinesLost", "APITokenWebhookAbsent",
	"APITokenAPIServerAway",
}

// notDrilled are the other alerts, with the reason. Their drills are those of hack/tools/promtool.
var notDrilled = map[string]string{
	"APITokenPATChecksOld":    "the product has to be silent for two hours",
	"APITokenControllerStuck": "the API server has to fail at reads of Secrets alone, for two minutes: apitoken.TestFailedPassesAreNoLooks",
}

// Every alert has a drill on the node, or a reason why not. This needs no node.
func TestEveryAlertIsDrilled(t *testing.T) {
	rules, err := os.ReadFile(filepath.Join(controlplane.RepositoryRoot(), "config/components/monitoring/rules.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var alerts []string
	for _, found := range regexp.MustCompile(`(?m)^ *- alert: (\w+)$`).FindAllSubmatch(rules, -1) {
		alerts = append(alerts, string(found[1]))
	}
	listed := slices.Clone(drilled)
	for name, reason := range notDrilled {
		if listed = append(listed, name); reason == "" {
			t.Errorf("nothing says why %s has no drill", name)
		}
	}
	slices.Sort(alerts)
	if slices.Sort(listed); !slices.Equal(alerts, listed) {
		t.Errorf("the alerts are  %v\nbut listed are %v", alerts, listed)
	}
}
