package main

// sender is a client and how it sends.
type sender struct {
	name    string // of the library or tool
	how     string // it sends the upload
	command []string
	beside  bool // it waits more than it works, and runs beside the others
	odd     bool // it is sent through odd routes, too
}

// In programs: see install.sh for what they need.
const java = "/usr/share/java/"

const classpath = ".built:" + java + "httpclient.jar:" + java + "httpcore.jar:" + java + "httpmime.jar:" + java + "httpclient5.jar:" +
	java + "httpcore5.jar:" + java + "httpcore5-h2.jar:" + java + "commons-logging.jar:" + java + "slf4j-api.jar:" + java + "okhttp.jar:" + java + "okio.jar"

func shell(mode string) []string  { return []string{"sh", "programs/client.sh", mode} }
func python(mode string) []string { return []string{"/usr/bin/python3", "programs/client.py", mode} }

func jvm(mode string) []string  { return []string{"java", "-Xmx1g", "-cp", classpath, "Client", mode} }
func mono(mode string) []string { return []string{"mono", ".built/client.exe", mode} }
func node(mode string) []string { return []string{"node", "programs/node/client.js", mode} }
func php(mode string) []string  { return []string{"php", "programs/client.php", mode} }
func perl(mode string) []string { return []string{"perl", "programs/client.pl", mode} }
func self(mode string) []string { return []string{"", asClient, mode} }

// clients are the rows of the tables.
var clients = []sender{
	{name: "curl `--form`", how: "with `Expect: 100-continue`", command: shell("curl")},
	{name: "curl `--form`", how: "without it", command: shell("curl-no-expect"), odd: true},
	{name: "curl `--form`", how: "chunked", command: shell("curl-chunked")},
	{name: "curl `--upload-file -`", how: "from a pipe", command: shell("curl-pipe")},
	{name: "wget", how: "`--post-file`", command: shell("wget")},
	{name: "reqwest", how: "as the official client", command: []string{".built/rust/debug/client"}},
	{name: "requests", how: "as `upload_symbols.py`", command: python("upload_symbols")},
	{name: "requests", how: "`files`", command: python("requests_files")},
	{name: "requests", how: "a file", command: python("requests_file")},
	{name: "requests", how: "a generator, chunked", command: python("requests_chunked")},
	{name: "httpx", how: "`files`", command: python("httpx_files")},
	{name: "aiohttp", how: "`FormData`", command: python("aiohttp_form")},
	{name: "urllib", how: "a file", command: python("urllib_file")},
	{name: "Java HttpClient", how: "a file", command: jvm("jdk")},
	{name: "Java HttpURLConnection", how: "fixed length", command: jvm("urlconnection")},
	{name: "Java HttpURLConnection", how: "chunked", command: jvm("urlconnection-chunked")},
	{name: "Apache HttpClient 4", how: "a form", command: jvm("apache4")},
	{name: "Apache HttpClient 5", how: "a form", command: jvm("apache5")},
	{name: "OkHttp 3", how: "a form", command: jvm("okhttp")},
	{name: "Mono HttpClient", how: "a form", command: mono("httpclient")},
	{name: "Mono HttpWebRequest", how: "fixed length", command: mono("webrequest")},
	{name: "Mono HttpWebRequest", how: "chunked", command: mono("webrequest-chunked")},
	{name: "Node.js fetch", how: "`FormData`", command: node("fetchForm")},
	{name: "Node.js fetch", how: "a stream, chunked", command: node("fetchStream")},
	{name: "Node.js http", how: "form-data", command: node("formData")},
	{name: "axios", how: "form-data", command: node("axios")},
	{name: "got", how: "form-data", command: node("got")},
	{name: "PHP", how: "its curl", command: php("curl")},
	{name: "PHP", how: "`file_get_contents`", command: php("stream")},
	{name: "Perl LWP", how: "a form", command: perl("lwp")},
	{name: "Perl HTTP::Tiny", how: "a file", command: perl("tiny")},
	{name: "Ruby Net::HTTP", how: "a form", command: []string{"ruby", "programs/client.rb"}},
	{name: "Go net/http", how: "a file", command: self("file")},
	{name: "Go net/http", how: "chunked", command: self("chunked")},
	{name: "one that reads last", how: "in 45 s", command: self("late"), beside: true, odd: true},
}
