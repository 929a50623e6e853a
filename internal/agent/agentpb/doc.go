// Package agentpb is the generated code of what nodes and the agents of hosts say to each other.
package agentpb
