// Command netpol enforces NetworkPolicies. It decides about the first packet of each connection, which the iptables rules in
// hack/lib/node/netpol.sh put into a queue.
//
//	netpol KUBECONFIG QUEUE NODE
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strconv"

	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/kube-network-policies/pkg/networkpolicy"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "netpol:", err)
		os.Exit(1) //nolint:gocritic // exitAfterDefer: stop only restores signal handling
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) != 3 {
		return errors.New("usage: netpol KUBECONFIG QUEUE NODE")
	}
	queue, err := strconv.Atoi(args[1])
	if err != nil {
		return fmt.Errorf("reading the number of the queue: %w", err)
	}
	config, err := clientcmd.BuildConfigFromFlags("", args[0])
	if err != nil {
		return fmt.Errorf("reading the kubeconfig: %w", err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("making a client: %w", err)
	}
	factory := informers.NewSharedInformerFactory(client, 0)
	policies, err := networkpolicy.NewController(client, factory.Networking().V1().NetworkPolicies(), factory.Core().V1().Namespaces(),
		factory.Core().V1().Pods(), nil, nil, nil, nil, networkpolicy.Config{QueueID: queue, NodeName: args[2]})
	if err != nil {
		return fmt.Errorf("preparing to enforce NetworkPolicies: %w", err)
	}
	factory.Start(ctx.Done())
	return policies.Run(ctx)
}
