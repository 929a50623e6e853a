package script_test

import (
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// pve is as much of the API of Proxmox VE as extensions use, with machines in memory.
type pve struct {
	server *httptest.Server
	mutex  sync.Mutex
	guests map[string]map[string]string
	asked  []string
	// hang has the next clone wait for it to be closed, when it is not nil, after the machine was made.
	hang chan struct{}
}

const pveKey = "PVEAPIToken=root@pam!kit=a secret that nobody tells"

func newPVE(t *testing.T) *pve {
	t.Helper()
	p := &pve{guests: map[string]map[string]string{}}
	mux := http.NewServeMux()
	answer := func(pattern string, serve func(r *http.Request) (any, int)) {
		// Extensions add :8006 and more to the address that they are told; it is told with the beginning of a path.
		method, path, _ := strings.Cut(pattern, " ")
		mux.HandleFunc(method+" /pve:8006/api2/json"+path, func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") != pveKey {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			data, status := serve(r)
			w.WriteHeader(status)
			_ = json.NewEncoder(w).Encode(map[string]any{"data": data})
		})
	}
	answer("GET /cluster/nextid", p.nextID)
	answer("POST /nodes/pve/qemu/{id}/clone", p.clone)
	for _, pattern := range []string{"POST /nodes/pve/qemu/{id}/config", "PUT /nodes/pve/qemu/{id}/config/"} {
		answer(pattern, p.onGuest(func(guest map[string]string, r *http.Request) any {
			for key := range r.PostForm {
				guest[key] = r.PostForm.Get(key)
			}
			return task
		}))
	}
	answer("POST /nodes/pve/qemu/{id}/status/{verb}", p.onGuest(func(guest map[string]string, r *http.Request) any {
		guest["status"] = map[string]string{"start": "running", "reboot": "running", "stop": "stopped"}[r.PathValue("verb")]
		return task
	}))
	answer("GET /nodes/pve/qemu/{id}/status/current", p.onGuest(func(guest map[string]string, _ *http.Request) any {
		return map[string]string{"status": guest["status"]}
	}))
	answer("DELETE /nodes/pve/qemu/{id}", p.onGuest(func(guest map[string]string, r *http.Request) any {
		delete(p.guests, r.PathValue("id"))
		return task
	}))
	answer("GET /nodes/pve/tasks/{id}/status", func(*http.Request) (any, int) {
		return map[string]string{"status": "stopped", "exitstatus": "OK"}, http.StatusOK
	})
	p.server = httptest.NewUnstartedServer(mux)
	p.server.Config.ErrorLog = log.New(io.Discard, "", 0)
	p.server.StartTLS()
	t.Cleanup(p.server.Close)
	return p
}

// task is what the API says of what it has begun.
const task = "UPID:pve:1:2:3:qm:100:root@pam:"

func (p *pve) nextID(r *http.Request) (any, int) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if asked := r.URL.Query().Get("vmid"); asked != "" {
		if p.guests[asked] != nil {
			return nil, http.StatusBadRequest
		}
		return asked, http.StatusOK
	}
	for id := 101; ; id++ {
		if p.guests[fmt.Sprint(id)] == nil {
			return fmt.Sprint(id), http.StatusOK
		}
	}
}

func (p *pve) clone(r *http.Request) (any, int) {
	id := r.PostFormValue("newid")
	p.mutex.Lock()
	p.asked = append(p.asked, "clone "+r.PathValue("id"))
	if p.guests[id] != nil || r.PathValue("id") != "9000" {
		p.mutex.Unlock()
		return nil, http.StatusInternalServerError
	}
	p.guests[id] = map[string]string{"status": "stopped", "name": r.PostFormValue("name")}
	hang := p.hang
	p.hang = nil
	p.mutex.Unlock()
	if hang != nil {
		<-hang
	}
	return task, http.StatusOK
}

// onGuest serves what is about a guest that is there.
func (p *pve) onGuest(serve func(map[string]string, *http.Request) any) func(r *http.Request) (any, int) {
	return func(r *http.Request) (any, int) {
		_ = r.ParseForm()
		p.mutex.Lock()
		defer p.mutex.Unlock()
		guest := p.guests[r.PathValue("id")]
		if guest == nil {
			return nil, http.StatusInternalServerError
		}
		if verb := r.PathValue("verb"); verb != "" {
			p.asked = append(p.asked, verb)
		}
		return serve(guest, r), http.StatusOK
	}
}

// seen returns what was asked for since the last time, and the guests that there are.
func (p *pve) seen() (asked string, guests []map[string]string) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	asked = strings.Join(p.asked, ", ")
	p.asked = nil
	for _, guest := range p.guests {
		guests = append(guests, guest)
	}
	return asked, guests
}

func (p *pve) hangOnce() chan struct{} {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.hang = make(chan struct{})
	return p.hang
}
