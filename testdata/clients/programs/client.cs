// Sends the upload with a .NET library. The mode is the argument. See run.go.

using System;
using System.IO;
using System.Net;
using System.Net.Http;
using System.Text.RegularExpressions;
using System.Threading;

static class Client {
    static readonly string url = Environment.GetEnvironmentVariable("URL"), token = Environment.GetEnvironmentVariable("TOKEN");
    static readonly string archive = Environment.GetEnvironmentVariable("ARCHIVE");
    static readonly string form = Environment.GetEnvironmentVariable("FORM"), formType = Environment.GetEnvironmentVariable("FORM_TYPE");

    static void Say(string key, object value) {
        Console.WriteLine(key + ": " + Regex.Replace("" + value, @"\s+", " "));
    }

    static void Main(string[] args) {
        // Mono has a store of certificates of its own.
        ServicePointManager.ServerCertificateValidationCallback = delegate { return true; };
        try {
            switch (args[0]) {
            case "httpclient": UseHttpClient(); break;
            case "webrequest": UseWebRequest(false); break;
            case "webrequest-chunked": UseWebRequest(true); break;
            default: throw new ArgumentException(args[0]);
            }
        } catch (Exception e) {
            while (e is AggregateException || (e is HttpRequestException || e is WebException) && e.InnerException != null) {
                e = e.InnerException;
            }
            Say("failed", e.GetType().Name + ": " + e.Message);
        }
        Environment.Exit(0);
    }

    static void UseHttpClient() {
        using (var handler = new HttpClientHandler { ServerCertificateCustomValidationCallback = delegate { return true; } })
        using (var client = new HttpClient(handler) { Timeout = Timeout.InfiniteTimeSpan })
        using (var content = new MultipartFormDataContent())
        using (var file = File.OpenRead(archive)) {
            content.Add(new StreamContent(file), "symbols.zip", "symbols.zip");
            var request = new HttpRequestMessage(HttpMethod.Post, url) { Content = content };
            if (token != "") {
                request.Headers.Add("Auth-Token", token);
            }
            var response = client.SendAsync(request).Result;
            Say("status", (int)response.StatusCode);
            Say("body", response.Content.ReadAsStringAsync().Result);
            try {
                response.EnsureSuccessStatusCode();
            } catch (HttpRequestException e) {
                Say("shown", e.Message);
            }
        }
    }

    static void UseWebRequest(bool chunked) {
        var request = (HttpWebRequest)WebRequest.Create(url);
        request.Method = "POST";
        request.ContentType = formType;
        request.AllowWriteStreamBuffering = false;
        request.Timeout = request.ReadWriteTimeout = 300000;
        if (token != "") {
            request.Headers["Auth-Token"] = token;
        }
        try {
            using (var file = File.OpenRead(form)) {
                if (chunked) {
                    request.SendChunked = true;
                } else {
                    request.ContentLength = file.Length;
                }
                using (var to = request.GetRequestStream()) {
                    file.CopyTo(to);
                }
            }
            request.GetResponse();
        } catch (WebException e) {
            Answered(e);
        }
    }

    static void Answered(WebException e) {
        var response = e.Response as HttpWebResponse;
        if (response == null) {
            throw e;
        }
        Say("status", (int)response.StatusCode);
        using (var reader = new StreamReader(response.GetResponseStream())) {
            Say("body", reader.ReadToEnd());
        }
        Say("shown", e.Message);
    }
}
