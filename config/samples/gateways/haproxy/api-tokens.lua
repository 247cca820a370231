-- Asks the webhook about a request, for HAProxy 2.6 or newer. haproxy.cfg beside this file loads it.
-- It speaks the contract "forward": X-Forwarded-Uri, X-Forwarded-Method and X-Forwarded-For describe the request.
--
-- URL is the auth URL with "-" in place of the caller key, KEY is the caller key, and VIA is an address to connect to in place of
-- the host in URL, if there is one. HAProxy takes them from its environment.

local url = os.getenv("API_TOKEN_URL")
local key = os.getenv("API_TOKEN_CALLER_KEY")
local via = os.getenv("API_TOKEN_VIA")
local timeout = 4500 -- milliseconds

-- These headers come from the webhook alone.
local identity = { "x-forwarded-user", "x-api-token-id", "authorization" }

-- values returns the values of a header of the client, at most so many, or nil. As many as a request may have headers end HAProxy
-- 2.6 when they are given to httpclient.
local function values(headers, name, most)
    local found = {}
    for i = 0, most - 1 do
        local value = headers[name] and headers[name][i]
        if value == nil then break end
        found[#found + 1] = value
    end
    if #found > 0 then return found end
end

-- joined returns all values of a header of the client in one, or nil.
local function joined(headers, name)
    local found = values(headers, name, 1000)
    if found then return { table.concat(found, " ") } end
end

local function refuse(txn, status, headers)
    local reply = txn:reply({ status = status })
    for _, name in ipairs({ "www-authenticate", "x-api-token-reason" }) do
        local value = headers and headers[name] and headers[name][0]
        if value then reply:add_header(name, value) end
    end
    txn:done(reply)
end

-- Every answer but 200, 401 and 403, and a 200 of another service, means that there is no verdict: 503.
core.register_action("ask_api_tokens", { "http-req" }, function(txn)
    local headers = txn.http:req_get_headers()
    local answer = core.httpclient():get({
        url = url,
        dst = via,
        timeout = timeout,
        headers = {
            ["x-api-token-caller"] = key and { key },
            ["x-forwarded-uri"] = { txn.sf:pathq() },
            ["x-forwarded-method"] = { txn.sf:method() },
            ["x-forwarded-for"] = { txn.sf:src() },
            ["x-request-id"] = values(headers, "x-request-id", 2),
            -- A second one is refused.
            ["authorization"] = values(headers, "authorization", 2),
            -- Only whether there is one counts.
            ["cookie"] = joined(headers, "cookie"),
        },
    })
    if not answer or (answer.status ~= 401 and answer.status ~= 403 and answer.status ~= 200) then
        return refuse(txn, 503)
    elseif answer.status ~= 200 then
        return refuse(txn, answer.status, answer.headers)
    end
    -- An answer without a target is not the webhook's: something else answers in its place.
    local target = answer.headers["x-api-token-target"] and answer.headers["x-api-token-target"][0] or ""
    if target == "" then return refuse(txn, 503) end
    for _, name in ipairs(identity) do
        local value = answer.headers[name] and answer.headers[name][0] or ""
        if value == "" then
            txn.http:req_del_header(name)
        else
            txn.http:req_set_header(name, value)
        end
    end
    -- What was judged is what is sent.
    txn.http:req_set_uri(target)
    if answer.headers["x-api-token-id"] and answer.headers["x-api-token-id"][0] ~= "" then
        -- A token of alice with a session of bob never becomes bob.
        txn.http:req_del_header("cookie")
        txn.http:req_del_header("upgrade")
        txn:set_var("txn.api_token", true)
    end
    txn:set_var("txn.api_token_judged", true)
end)
