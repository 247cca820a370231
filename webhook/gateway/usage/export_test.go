package usage

// MaxTokens is how many tokens there is room for.
const MaxTokens = maxTokens
