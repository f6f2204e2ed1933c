// java.net.http as LangChain4j and Spring AI use it: Ask URL KEY [CA]. One line for each answer: status and body.
//
// Left to itself it asks for HTTP/2: by an Upgrade over http, by ALPN over https.

import java.io.ByteArrayInputStream;
import java.io.FileInputStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublisher;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.charset.StandardCharsets;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import java.util.stream.Collectors;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;

public class Ask {
    public static void main(String[] given) throws Exception {
        var builder = HttpClient.newBuilder();
        if (given.length > 2) builder.sslContext(trusting(given[2]));
        var client = builder.build();
        var plain = "{\"model\":\"chat\",\"messages\":[{\"role\":\"user\",\"content\":\"[sim:echo] Grüße aus 東京\"}]}";
        var streamed = plain.replaceFirst("\\{", "{\"stream\":true,");
        var bytes = plain.getBytes(StandardCharsets.UTF_8);
        say(client, given, BodyPublishers.ofString(plain));
        say(client, given, BodyPublishers.ofInputStream(() -> new ByteArrayInputStream(bytes))); // chunked
        say(client, given, BodyPublishers.ofString(streamed));
        say(client, new String[] {given[0], "nobody's"}, BodyPublishers.ofString(plain));
        say(client, given, BodyPublishers.ofString(plain));
    }

    static void say(HttpClient client, String[] given, BodyPublisher body) throws Exception {
        var request = HttpRequest.newBuilder(URI.create(given[0] + "/openai/v1/chat/completions"))
                .header("Authorization", "Bearer " + given[1])
                .header("Content-Type", "application/json")
                .POST(body)
                .build();
        var answer = client.send(request, BodyHandlers.ofLines());
        System.out.println(answer.statusCode() + " " + answer.version() + " "
                + answer.body().collect(Collectors.joining("")));
    }

    static SSLContext trusting(String path) throws Exception {
        var store = KeyStore.getInstance(KeyStore.getDefaultType());
        store.load(null);
        try (var file = new FileInputStream(path)) {
            store.setCertificateEntry("ca", CertificateFactory.getInstance("X.509").generateCertificate(file));
        }
        var managers = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        managers.init(store);
        var context = SSLContext.getInstance("TLS");
        context.init(null, managers.getTrustManagers(), null);
        return context;
    }
}
