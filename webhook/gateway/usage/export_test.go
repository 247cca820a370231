package usage

// MaxTokens is the number of tokens that a Recorder has room for.
const MaxTokens = maxTokens
