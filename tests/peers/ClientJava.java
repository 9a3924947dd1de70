import java.io.InputStream;
import java.io.OutputStream;
import java.io.FileInputStream;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import java.util.List;
import javax.net.ssl.SNIHostName;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLParameters;
import javax.net.ssl.SSLSocket;
import javax.net.ssl.TrustManagerFactory;

/** JSSE, the TLS of the JDK: `java ClientJava.java CERTIFICATE TIMES PORT...`, as the other clients. */
public class ClientJava {
    public static void main(String[] args) throws Exception {
        KeyStore trusted = KeyStore.getInstance(KeyStore.getDefaultType());
        trusted.load(null, null);
        try (InputStream file = new FileInputStream(args[0])) {
            CertificateFactory certificates = CertificateFactory.getInstance("X.509");
            trusted.setCertificateEntry("lab", certificates.generateCertificate(file));
        }
        TrustManagerFactory trust = TrustManagerFactory.getInstance("PKIX");
        trust.init(trusted);
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(null, trust.getTrustManagers(), null);
        System.out.println("waiting");
        while (System.in.read() != '\n') {}
        for (int time = 0; time < Integer.parseInt(args[1]); time++) {
            for (int at = 2; at < args.length; at++) {
                shake(context, Integer.parseInt(args[at]));
            }
        }
    }

    private static void shake(SSLContext context, int port) throws Exception {
        try (SSLSocket socket =
                (SSLSocket) context.getSocketFactory().createSocket("127.0.0.1", port)) {
            SSLParameters parameters = socket.getSSLParameters();
            parameters.setServerNames(List.of(new SNIHostName("java.test")));
            parameters.setApplicationProtocols(new String[] {"http/1.1"});
            socket.setSSLParameters(parameters);
            OutputStream out = socket.getOutputStream();
            out.write("GET / HTTP/1.0\r\n\r\n".getBytes());
            out.flush();
            socket.getInputStream().readAllBytes();
        }
    }
}
