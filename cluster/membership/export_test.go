package membership

// Parse is how Load reads what is in the file.
var Parse = parse

// ParseAttempt reads what is kept of an attempt to join.
func ParseAttempt(text []byte) error {
	_, err := parseAttempt(text)
	return err
}

// Names of the files.
const (
	MemberFile    = memberFile
	AuthorityFile = authorityFile
	GossipFile    = gossipFile
	SecretsFile   = secretsFile
	AttemptFile   = attemptFile
	IdentityDir   = identityDir
)
