package bulk

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
)

const (
	// putsAtOnce is the number of keys in one transaction. etcd allows 128.
	putsAtOnce = 100
	// registry is the beginning of every key of the API server.
	registry = "/registry/"
)

// etcd writes keys through the JSON gateway that every etcd serves.
type etcd struct{ url string }

// pair is a key and its value, as base64 in JSON.
type pair struct {
	Key   []byte `json:"key"`
	Value []byte `json:"value"`
}

// put writes keys in one transaction.
func (e etcd) put(ctx context.Context, pairs []pair) error {
	type request struct {
		Put pair `json:"requestPut"`
	}
	txn := struct {
		Success []request `json:"success"`
	}{}
	for _, p := range pairs {
		txn.Success = append(txn.Success, request{p})
	}
	body, err := json.Marshal(txn)
	if err != nil {
		return fmt.Errorf("encoding keys for etcd: %w", err)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, e.url+"/v3/kv/txn", bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("asking etcd: %w", err)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return fmt.Errorf("asking etcd: %w", err)
	}
	defer func() { _ = answer.Body.Close() }()
	said, err := io.ReadAll(answer.Body)
	if err != nil {
		return fmt.Errorf("reading the answer of etcd: %w", err)
	}
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("writing to etcd: HTTP %d: %.200s", answer.StatusCode, said)
	}
	return nil
}
