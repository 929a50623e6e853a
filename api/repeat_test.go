package api_test

import "testing"

// A repetition is answered with the first operation also when what the request
// stood on, or what it made, is gone by then.
func TestARepetitionIsAnsweredWhenEverythingIsGone(t *testing.T) {
	s := newSite(t)
	keyed := func(method, path, body, key string) *answer {
		r := request{method: method, path: path, as: admin, header: map[string]string{"Idempotency-Key": key}}
		if body != "" {
			r.body = body
		}
		if method == "PUT" {
			r.header["Content-Type"] = "application/octet-stream"
		}
		return s.do(r)
	}
	s.zone.AddDriver("bulkhead/sim", []string{"network"})
	network := s.post("/v1/networks", `{"name":"n","spec":{"driver":"bulkhead/sim","cidr":"10.0.0.0/24"}}`).made()
	volume := s.post("/v1/volumes", `{"spec":{"sizeBytes":1048576}}`).made()
	snapshot := s.post("/v1/snapshots", `{"spec":{"volumeId":"`+volume+`"}}`).made()
	rule := keyed("POST", "/v1/rules", `{"spec":{"networkId":"`+network+`","type":"ingress"}}`, "make").want(202)
	path := "/v1/rules/" + rule.made()
	template := s.post("/v1/templates", `{"name":"t","spec":{"format":"raw","upload":true}}`).made()
	requests := []struct{ method, path, body, key string }{
		{"POST", "/v1/rules", `{"spec":{"networkId":"` + network + `","type":"ingress"}}`, "make"},
		{"PATCH", path, `{"spec":{"ports":"80"}}`, "patch"},
		{
			"POST", "/v1/volumes/" + volume + "/actions/revert", `{"snapshotId":"` + snapshot + `"}`, "act",
		},
		{"PUT", "/v1/templates/" + template + "/content", "bytes", "upload"},
		{"DELETE", path, "", "delete"},
	}
	first := map[string]string{}
	for _, r := range requests {
		first[r.key] = keyed(r.method, r.path, r.body, r.key).want(202).body["id"].(string)
	}
	keyed("POST", "/v1/tokens", `{"name":"x","spec":{"role":"reader"}}`, "token").want(202)
	for _, gone := range []string{
		"snapshots/" + snapshot, "volumes/" + volume, "networks/" + network, "templates/" + template,
	} {
		s.do(request{method: "DELETE", path: "/v1/" + gone, as: admin}).want(202)
	}
	for _, r := range requests {
		if again := keyed(r.method, r.path, r.body, r.key).want(202).body["id"]; again != first[r.key] {
			t.Errorf("%s %s again: operation %v, first %s", r.method, r.path, again, first[r.key])
		}
	}
	keyed("POST", "/v1/rules", `{"spec":{"networkId":"`+network+`","type":"egress"}}`, "make").
		problem(422, "idempotency-key-reused")
	token := s.do(request{method: "GET", path: "/v1/tokens?name=x", as: admin}).body["items"].([]any)[0].(object)["id"]
	s.do(request{method: "DELETE", path: "/v1/tokens/" + token.(string), as: admin}).want(202)
	keyed("POST", "/v1/tokens", `{"name":"x","spec":{"role":"reader"}}`, "token").problem(409, "secret-shown-once")
}
