// Sends the upload with a Java library. The mode is the argument. See run.go.

import java.io.File;
import java.io.FileInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.net.HttpURLConnection;
import java.net.URI;
import java.net.URL;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import javax.net.ssl.HttpsURLConnection;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;
import javax.net.ssl.X509TrustManager;

public class Client {
    static final String url = System.getenv("URL"), token = System.getenv("TOKEN"), formType = System.getenv("FORM_TYPE");
    static final File archive = new File(System.getenv("ARCHIVE")), form = new File(System.getenv("FORM"));
    static TrustManagerFactory trust;
    static SSLContext tls;

    static void say(String key, Object value) {
        System.out.println(key + ": " + String.valueOf(value).replaceAll("\\s+", " "));
    }

    static void answered(int status, String body) {
        say("status", status);
        say("body", body);
    }

    public static void main(String[] args) {
        try {
            KeyStore roots = KeyStore.getInstance(KeyStore.getDefaultType());
            roots.load(null);
            try (InputStream pem = new FileInputStream(System.getenv("SSL_CERT_FILE"))) {
                roots.setCertificateEntry("it", CertificateFactory.getInstance("X.509").generateCertificate(pem));
            }
            trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
            trust.init(roots);
            tls = SSLContext.getInstance("TLS");
            tls.init(null, trust.getTrustManagers(), null);
            switch (args[0]) {
                case "jdk" -> jdk();
                case "urlconnection" -> urlConnection(false);
                case "urlconnection-chunked" -> urlConnection(true);
                case "apache4" -> apache4();
                case "apache5" -> apache5();
                case "okhttp" -> okhttp();
                default -> throw new IllegalArgumentException(args[0]);
            }
        } catch (Exception | LinkageError e) {
            Throwable cause = e;
            while (cause.getMessage() == null && cause.getCause() != null) {
                cause = cause.getCause();
            }
            say("failed", cause);
        }
        System.exit(0); // pools of threads stay
    }

    static void jdk() throws Exception {
        HttpRequest.Builder request = HttpRequest.newBuilder(URI.create(url)).header("Content-Type", formType);
        if (!token.isEmpty()) {
            request.header("Auth-Token", token);
        }
        HttpResponse<String> response = HttpClient.newBuilder().sslContext(tls).build()
            .send(request.POST(HttpRequest.BodyPublishers.ofFile(Path.of(form.getPath()))).build(), HttpResponse.BodyHandlers.ofString());
        answered(response.statusCode(), response.body());
    }

    static void urlConnection(boolean chunked) throws Exception {
        HttpURLConnection connection = (HttpURLConnection) new URL(url).openConnection();
        if (connection instanceof HttpsURLConnection) {
            ((HttpsURLConnection) connection).setSSLSocketFactory(tls.getSocketFactory());
        }
        connection.setRequestMethod("POST");
        connection.setDoOutput(true);
        if (chunked) {
            connection.setChunkedStreamingMode(1 << 16);
        } else {
            connection.setFixedLengthStreamingMode(form.length());
        }
        connection.setRequestProperty("Content-Type", formType);
        if (!token.isEmpty()) {
            connection.setRequestProperty("Auth-Token", token);
        }
        try (InputStream in = new FileInputStream(form)) {
            in.transferTo(connection.getOutputStream());
        }
        int status = connection.getResponseCode();
        InputStream error = connection.getErrorStream();
        answered(status, error == null ? "" : new String(error.readAllBytes(), StandardCharsets.UTF_8));
        try {
            connection.getInputStream();
        } catch (IOException e) {
            say("shown", e.getMessage());
        }
    }

    static void apache4() throws Exception {
        org.apache.http.client.methods.HttpPost post = new org.apache.http.client.methods.HttpPost(url);
        if (!token.isEmpty()) {
            post.setHeader("Auth-Token", token);
        }
        post.setEntity(org.apache.http.entity.mime.MultipartEntityBuilder.create().addBinaryBody("symbols.zip", archive).build());
        try (var client = org.apache.http.impl.client.HttpClients.custom().setSSLContext(tls).build(); var response = client.execute(post)) {
            answered(response.getStatusLine().getStatusCode(), org.apache.http.util.EntityUtils.toString(response.getEntity()));
        }
    }

    static void apache5() throws Exception {
        var post = new org.apache.hc.client5.http.classic.methods.HttpPost(url);
        if (!token.isEmpty()) {
            post.setHeader("Auth-Token", token);
        }
        post.setEntity(org.apache.hc.client5.http.entity.mime.MultipartEntityBuilder.create().addBinaryBody("symbols.zip", archive).build());
        var manager = org.apache.hc.client5.http.impl.io.PoolingHttpClientConnectionManagerBuilder.create()
            .setSSLSocketFactory(new org.apache.hc.client5.http.ssl.SSLConnectionSocketFactory(tls)).build();
        try (var client = org.apache.hc.client5.http.impl.classic.HttpClients.custom().setConnectionManager(manager).build()) {
            client.execute(post, response -> {
                answered(response.getCode(), org.apache.hc.core5.http.io.entity.EntityUtils.toString(response.getEntity()));
                return null;
            });
        }
    }

    static void okhttp() throws Exception {
        var client = new okhttp3.OkHttpClient.Builder()
            .sslSocketFactory(tls.getSocketFactory(), (X509TrustManager) trust.getTrustManagers()[0])
            .readTimeout(java.time.Duration.ofMinutes(5)).writeTimeout(java.time.Duration.ofMinutes(5)).build();
        var body = new okhttp3.MultipartBody.Builder().setType(okhttp3.MultipartBody.FORM)
            .addFormDataPart("symbols.zip", "symbols.zip", okhttp3.RequestBody.create(okhttp3.MediaType.parse("application/zip"), archive)).build();
        var request = new okhttp3.Request.Builder().url(url).post(body);
        if (!token.isEmpty()) {
            request.header("Auth-Token", token);
        }
        try (var response = client.newCall(request.build()).execute()) {
            answered(response.code(), response.body().string());
        }
    }
}
